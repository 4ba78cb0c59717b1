"""Importers: one module a format, each turns a folder that somebody brings into samples."""
