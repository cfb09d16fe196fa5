"""Each backbone as an ExportModel: read or built at random, specialised, with its reference and its terms."""
