"""The agent of a cell. For now it reports the cell's health and load; replication and proposals come later."""
