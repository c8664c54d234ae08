"""Makes the report of a campaign that measured devices: what every outcome has, and the rooflines."""
