"""Tables and the report page, made from score files."""
