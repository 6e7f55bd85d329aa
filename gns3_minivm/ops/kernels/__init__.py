"""Operations on kernel bundles."""
