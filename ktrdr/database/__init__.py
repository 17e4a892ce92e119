"""The one database: its engine and the tables that are ours."""
