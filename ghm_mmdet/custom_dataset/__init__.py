"""A user's folder of labelled images: what format it has, its objects as COCO's JSON, a detector's settings for it."""
