"""The folder: find, walk, ignore rules, change detection, state.db, base, undo store, materialise safely."""
