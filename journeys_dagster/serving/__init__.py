"""What others look at while runs go on: published lists, why they are so, and the service that answers for them."""
