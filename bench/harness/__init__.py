"""What bench/run is made of: contenders and their data, how they are timed, the parts B1 to B9, the table and the chart."""
