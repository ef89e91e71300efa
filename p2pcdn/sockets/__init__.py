"""WebSockets that p2pcdn holds itself: where the server in front has none (WSGI), and in
`p2pcdn serve`, where a relayed message should cost as little as it can."""
