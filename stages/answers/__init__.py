"""What was asked and answered: rounds, Prodigy's rows, the ledger, and what the votes settle on."""
