"""Every nn.Module of the package."""
