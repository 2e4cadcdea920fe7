"""What does a checkpoint hold, how is it written, and how does training go on from it?"""
