"""object"""
