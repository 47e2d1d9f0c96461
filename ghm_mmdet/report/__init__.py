"""The HTML page that compares runs, one step per module: work_dir, history, ground_truth, predictions, evaluation,
charts, pictures, page. Importing this package imports nothing heavy.
"""
