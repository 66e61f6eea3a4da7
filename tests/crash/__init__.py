"""Kill -9 at any instant: nothing acknowledged is lost, nothing sent is without its trace, the chain holds."""
