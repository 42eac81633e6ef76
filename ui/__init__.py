"""The seeing: pages, forms, plots, viewer and the command line. Never trains in the web process."""
