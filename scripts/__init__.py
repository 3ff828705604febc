"""What runs before or beside Tandem itself: setting up the environment. Imports nothing of Tandem."""
