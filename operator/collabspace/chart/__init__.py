"""What of the Helm chart comes from elsewhere: the schema of its values, the kinds, rights and guards."""
