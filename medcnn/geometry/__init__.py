"""Affines, grids and shapes: numpy and scipy only, for all rooms."""
