"""How the data that the package ships was made: adapters, classifiers, their measurements."""
