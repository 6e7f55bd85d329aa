"""Files that are written from a lab: lab files, inventories, and test reports."""
