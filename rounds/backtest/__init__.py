"""`rounds backtest`: labelling projects replayed in memory, on data labelled already."""
