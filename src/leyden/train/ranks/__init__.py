"""Who trains together: how ranks start, meet, talk and end?"""
