"""The attention cache: what a frozen LMM saw, phrase by phrase, in Parquet shards that need no pickle."""
