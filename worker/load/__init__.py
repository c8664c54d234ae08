"""Contains the client side of a service under load: when requests are sent, by which processes, and what is computed from them."""
