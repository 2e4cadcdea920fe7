"""What fills batches while the device computes?"""
