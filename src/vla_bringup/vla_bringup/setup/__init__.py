"""Set-up of a checkout: virtual environment, wheels, interfaces, environment file.

Standard library only (plus vla_core.errors, which is too): it runs before the virtual environment exists.
"""
