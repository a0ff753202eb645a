"""What runs inside the sandbox: standard library only, since the runner starts without our package. Source: ours."""
