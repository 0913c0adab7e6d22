"""Problems with tests, from functions with doctests in installed packages."""
