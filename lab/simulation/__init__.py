"""A simulated platform with known truth: people, the journeys they are on, and the data they leave.

For demonstrations, tests and benchmarks. Nothing in it comes from anybody's log.
"""

from lab.simulation.journey_types import Half
from lab.simulation.landing import WorldSummary, simulate
from lab.simulation.world import SimulationError, World, build_world

__all__ = ["Half", "SimulationError", "World", "WorldSummary", "build_world", "simulate"]
