"""Which batches does a rank get, in which order, and how do they come to its device?"""
