"""The demo films: generative art rendered frame by frame with numpy."""
