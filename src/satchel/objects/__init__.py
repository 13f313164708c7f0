"""What is stored: ids, paths, listings, frames, packs, sealing, commit records. Pure: no IO."""
