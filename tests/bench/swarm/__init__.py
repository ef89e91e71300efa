"""What a swarm saves, and what it costs the visitor: `make bench-swarm`.

Real browsers watch the same film through a counting (and, where a scenario says so, throttling)
proxy: as a plain `<video>`, through p2pcdn, and through npm p2p-media-loader with hls.js and a
tracker of its own; all in one run, with the asked numbers beside the measured ones.
"""
