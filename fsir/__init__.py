"""fsir"""
