"""Studies: grids of trainings with seeds and label noise, their results, and the report on them."""
