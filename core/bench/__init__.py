"""What runs when somebody asks how fast this is: benchmarks beside their peers, and the harness that they share."""
