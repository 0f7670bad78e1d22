"""af_xdp"""
