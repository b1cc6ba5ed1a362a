"""Optical flow estimators and flow files."""
