"""`rounds backtest`: whole labelling projects replayed in memory, on data that is labelled already."""
