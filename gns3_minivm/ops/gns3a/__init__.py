"""Operations on GNS3's appliance files."""
