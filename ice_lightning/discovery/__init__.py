"""Discovery: from a criterion to a subspace, over people."""
