"""A media file: from its URL to its bytes, its ranges, its hashes and its manifest."""
