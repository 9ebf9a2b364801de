"""Features: what an author declares, the plan that it compiles to, and the engines that run the plan."""
