"""What a frozen LMM saw, phrase by phrase, and what a segmenter saw, image by image: Parquet shards without pickle."""
