"""How the small model is made. The product never imports this package."""
