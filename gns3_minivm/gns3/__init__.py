"""One interface to GNS3 servers of both API generations."""
