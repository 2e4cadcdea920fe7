"""How is a data set written so that any sample is one range away?"""
