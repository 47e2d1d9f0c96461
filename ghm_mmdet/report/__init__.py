"""The HTML page of tools/report.py, one step per module: work_dir, log, ground_truth, predictions, evaluation, charts,
pictures, page. Importing this package imports nothing heavy.
"""
