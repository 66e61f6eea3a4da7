"""INSi Agent: a local bridge from web health records to smart cards and the INSi teleservice."""

__version__ = "0.1.0"
