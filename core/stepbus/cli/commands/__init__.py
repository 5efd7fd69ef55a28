"""What each command does, a module each, which `stepbus.cli.main` imports when it is typed."""
