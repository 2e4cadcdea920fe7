"""Who is measured beside Leyden's Loader, and how is one of them set up? One module a library."""
